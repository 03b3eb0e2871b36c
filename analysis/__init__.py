"""Arrow in, maps out: analysis of exported sweeps (no torch, ray, optuna or mlflow)."""
