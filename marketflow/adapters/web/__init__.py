"""HTTP: bytes to requests, requests to answers."""
