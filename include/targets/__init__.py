"""What a label's text means, what is learnt from it, how well, and what is answered: a file a task."""
