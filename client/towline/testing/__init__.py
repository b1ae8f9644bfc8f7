"""A Towline that lives in your tests: `FakeTowline`, a transport for httpx.

fake = FakeTowline()
client = Towline("https://towline.test", api_key="any", transport=fake)
"""

from towline.testing.fake import FakeTowline, Received

__all__ = ["FakeTowline", "Received"]
