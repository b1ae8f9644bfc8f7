"""The XMP packet, read back from every format as any other program would."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from shared.imaging import CONTENT_TYPES, decode, encode
from shared.provenance import xmp_packet
from tests.hostile.items import PICTURE

NAMES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}
VOCABULARY = "http://cv.iptc.org/newscodes/digitalsourcetype/"
FORMATS = pytest.mark.parametrize("result_format", CONTENT_TYPES)


def packet(engine_trained: bool = True, job_id: str = "job_1", version: str = "0.1.0") -> bytes:
    return xmp_packet(
        engine_trained=engine_trained, software="Towline", version=version, job_id=job_id
    )


def properties(xmp: bytes) -> dict[str, str]:
    description = ET.fromstring(xmp).find("rdf:RDF/rdf:Description", NAMES)  # noqa: S314 - our own
    return {
        name: description.findtext(name, namespaces=NAMES)
        for name in (
            "Iptc4xmpExt:DigitalSourceType", "photoshop:TransmissionReference", "xmp:CreatorTool"
        )
    }  # fmt: skip


@FORMATS
@pytest.mark.parametrize(
    ("engine_trained", "source_type"),
    [(True, "compositeWithTrainedAlgorithmicMedia"), (False, "algorithmicallyEnhanced")],
)
def test_provenance_is_read_back_when_a_result_carries_it(
    result_format, engine_trained: bool, source_type: str
) -> None:
    data = encode(PICTURE, result_format, packet(engine_trained))
    assert properties(Image.open(io.BytesIO(data)).info["xmp"]) == {
        "Iptc4xmpExt:DigitalSourceType": VOCABULARY + source_type,
        "photoshop:TransmissionReference": "job_1",
        "xmp:CreatorTool": "Towline 0.1.0",
    }


@FORMATS
def test_pixels_are_the_same_when_a_result_carries_provenance(result_format) -> None:
    plain, marked = (decode(encode(PICTURE, result_format, xmp)) for xmp in (None, packet()))
    assert np.array_equal(plain.pixels_HWC, marked.pixels_HWC)


@FORMATS
def test_result_carries_no_metadata_when_none_is_given(result_format) -> None:
    assert "xmp" not in Image.open(io.BytesIO(encode(PICTURE, result_format))).info


def test_text_is_escaped_when_it_holds_markup_or_what_xml_cannot_hold() -> None:
    read = properties(packet(job_id='</x:xmpmeta>&"\x00\ud800é', version="<1>"))
    assert read["photoshop:TransmissionReference"] == '</x:xmpmeta>&"é'
    assert read["xmp:CreatorTool"] == "Towline <1>"


def test_packet_is_found_by_a_scanner_when_it_knows_only_the_wrapper() -> None:
    assert packet().startswith(b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>')
    assert packet().endswith(b'<?xpacket end="r"?>')
