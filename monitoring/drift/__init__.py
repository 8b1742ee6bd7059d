"""Whether live inputs are distributed as those were that the model was trained on."""
