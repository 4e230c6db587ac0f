"""The highest load that is to be expected, and how far that forecast is trusted."""
