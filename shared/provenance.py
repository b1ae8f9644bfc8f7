"""Where a result picture comes from, as an XMP packet to be stored inside it.

IPTC Photo Metadata 2025.1: the digital source type (what edited the picture), the job's id
(IPTC's field for it is `photoshop:TransmissionReference`) and the creator tool (XMP basic).
"""

from __future__ import annotations

import re
from html import escape

_VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
#: "Edited using generative AI": a trained model drew part of the picture.
EDITED_BY_TRAINED_MODEL = _VOCABULARY + "compositeWithTrainedAlgorithmicMedia"
#: "Algorithmically-altered media": changed by an algorithm that was not trained.
EDITED_BY_ALGORITHM = _VOCABULARY + "algorithmicallyEnhanced"

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/">
   <Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
   <photoshop:TransmissionReference>{job_id}</photoshop:TransmissionReference>
   <xmp:CreatorTool>{tool}</xmp:CreatorTool>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def xmp_packet(*, engine_trained: bool, software: str, version: str, job_id: str) -> bytes:
    """The packet, UTF-8: who made the picture, by what kind of engine, for which job.

    Text is escaped; characters that XML cannot hold are left out.
    """
    return _PACKET.format(
        source_type=EDITED_BY_TRAINED_MODEL if engine_trained else EDITED_BY_ALGORITHM,
        job_id=_xml(job_id),
        tool=_xml(f"{software} {version}"),
    ).encode()


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub("", text))
