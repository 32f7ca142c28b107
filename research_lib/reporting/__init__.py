"""What people read: figures, reports, and where each number came from."""
