"""The results of several runs as tables, figures and pages."""
