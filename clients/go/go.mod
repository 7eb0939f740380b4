module twofold

go 1.21
