"""What happens to servers while a worker is under load: scenarios for tests and for figures."""
