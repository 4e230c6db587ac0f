"""The scheduler that knows all requests in advance."""
