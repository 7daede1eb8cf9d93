"""The queues behind plan.job.JobQueue, chosen by the database's address."""
