"""From a command to its reply: admission, limits, prices, plan, moderation, delivery."""
