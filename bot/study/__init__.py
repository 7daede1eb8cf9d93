"""The study in chat: consent, comparisons, guesses, questionnaires, treatments."""
