"""What must outlive the process: journal, outbox and the store of minutes."""
