"""The error of the labels, stated by people: a stratified sample, a sheet to correct, and what follows from it.

`sample`  draws the segments and keeps how many each of them stands for
`sheet`   the table that a person fills in, written and read back
`page`    the same with audio, in a browser, without a network
`state`   the word error rate of the kept labels, and what the filter wrongly dropped, with 95 % intervals
"""
