"""Launch sweeps: the only package that knows ray, optuna and mlflow."""
