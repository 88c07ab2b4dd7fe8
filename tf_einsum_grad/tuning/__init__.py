"""What a machine does best, found out by measuring it."""
