"""What an `Idempotency-Key` made, so that asking twice makes one thing."""
