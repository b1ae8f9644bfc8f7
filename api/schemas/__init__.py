"""The bodies that clients send, and those that they get; `/openapi.json` is made from these."""
