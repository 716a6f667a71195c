module importer.test/notes

go 1.26.0

require itemsapi v0.0.0

replace itemsapi => ../../../..
