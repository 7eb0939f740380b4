"""Who is measured: the product, plain, bare and nchan, each behind the same few words."""
