"""What a person sees in the terminal: training as it runs, and the chat."""
