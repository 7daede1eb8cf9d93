"""Make an expert: corpus, training, evaluation, publishing; one runnable file a stage."""
