"""The paper's public data sets, read as they are published: ``KIND:FOLDER`` names one of them."""
