# shellcheck shell=bash
run_matrix() { die "to be written"; }
