"""What a request pays for going through the router: see docs/performance.md."""
