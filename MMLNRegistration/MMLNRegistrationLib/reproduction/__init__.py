"""The paper's tables on the user's copy of its data: three trainings, their evaluation, tables (mmln reproduce)."""
