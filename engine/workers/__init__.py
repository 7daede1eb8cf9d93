"""The model's processes, who starts them, and the messages between them and the queue."""
