"""One module per question, JSON out; README.md has the budgets and the last figures."""
