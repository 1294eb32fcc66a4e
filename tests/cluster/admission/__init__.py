"""The admission policies about images and operations, on a real API server with both charts installed."""
