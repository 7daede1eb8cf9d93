"""The queues behind jobs.JobQueue, chosen by the database's address."""
