"""Pictures that a caller may send and hopes we get wrong, built in code.

    from tests.hostile import Decoded, corpus

    for item in corpus():
        item.data       the bytes to send; built when asked for
        item.expected   a code of `shared.errors`, or what comes out

The unit tests of `shared.imaging` decode them; the tests of the API send them.
"""

from tests.hostile.corpus import corpus
from tests.hostile.items import Decoded, Hostile

__all__ = ["Decoded", "Hostile", "corpus"]
