"""Forecasts the highest load within a horizon, and measures how reliable the forecast is."""
