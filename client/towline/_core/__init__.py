"""What the client knows without sending anything: requests, answers, pauses, decoding."""
