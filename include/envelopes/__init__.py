"""How a record wraps its sample: where content, id, group and label are found in it."""
