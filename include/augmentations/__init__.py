"""Inputs changed at random while a model is trained, and at no other time."""
