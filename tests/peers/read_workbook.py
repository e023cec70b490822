"""Reads a workbook with openpyxl and prints what its first sheet and its cells are, as JSON."""

import json
import sys

import openpyxl

book = openpyxl.load_workbook(sys.argv[1])
sheet = book.worksheets[0]
cells = lambda row: [
    {"type": cell.data_type, "format": cell.number_format, "text": None if cell.value is None else str(cell.value)}
    for cell in row
]
print(
    json.dumps(
        {
            "sheets": book.sheetnames,
            "frozen": sheet.freeze_panes,
            "filter": sheet.auto_filter.ref,
            "width": sheet.column_dimensions["A"].width,
            "rows": [cells(row) for row in sheet.iter_rows()],
        }
    )
)
