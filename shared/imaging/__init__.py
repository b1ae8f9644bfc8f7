"""Pictures: from bytes to pixels, and back.

    bytes ──container──▶ parts ──raster──▶ samples ──colour──▶ sRGB ──orientation──▶ Picture
            (png, jpeg,         (Pillow)                        └────────(masks skip it)──▶ mask
             webp)

The policy, in the order in which it is applied:

- The type is found from the bytes. PNG, JPEG and WebP; nothing else reaches Pillow.
- The size is read from the header and checked before a pixel is decoded.
- The file is taken apart here, and Pillow is given the coded pixels alone: no text, no
  thumbnails, no EXIF, nothing after the picture's end. What is never read cannot harm.
- Whatever is missing, damaged or animated is refused; metadata that is broken is ignored.
- Pixels come out as 8-bit sRGB, upright, with alpha only if some pixel is not opaque.

No error but a `PictureError` leaves `decode`, `decode_mask` and `inspect`, save a
`MemoryError`: a server without memory says nothing about the picture. No state is kept
and none of Pillow's is changed: every function may be called from any thread.
"""

from shared.imaging.container import MAX_BYTES, MAX_PIXELS
from shared.imaging.decode import Picture, PictureFacts, decode, decode_mask, inspect
from shared.imaging.encode import CONTENT_TYPES, MAX_SIDE_PX, ResultFormat, encode, encode_mask

__all__ = [
    "CONTENT_TYPES",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE_PX",
    "Picture",
    "PictureFacts",
    "ResultFormat",
    "decode",
    "decode_mask",
    "encode",
    "encode_mask",
    "inspect",
]
