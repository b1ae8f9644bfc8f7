"""What runs the flows: `blocking`, and `asynchronous` for asyncio. Step by step alike."""
