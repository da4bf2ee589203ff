"""The report page: tables, plots and gallery."""
