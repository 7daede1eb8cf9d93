"""From a request to its job, as pure functions: cards, router, prompt, picture, treatment."""
