module programs

go 1.21

require twofold v0.0.0

replace twofold => ../../../../../clients/go
