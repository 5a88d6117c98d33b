"""The rules of this house that a machine can hold: what is agreed, and a check for each."""
