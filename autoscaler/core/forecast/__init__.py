"""Forecasts the highest load within a horizon, and measures how reliable the forecast is.

seasonality  mean loads of slots -> SeasonalProfile  the load by time of day and of week
evaluation   forecasts when due  -> HorizonRecord    how accurate they were
calibration  their scores        -> Calibration      the margin above the centre
forecaster   measured loads      -> Forecast         the load, and whether to trust it
"""
