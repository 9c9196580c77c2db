"""Probabilistic forecasting of multivariate time series with generative models."""
