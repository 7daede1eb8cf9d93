"""What is typed and what is seen, as pure functions: commands, buttons, words, escapes."""
