"""What records say of their samples: content, id, group and label, wherever those stand."""
