# shellcheck shell=bash
# Shared by the scripts that check modules; to be sourced in the top directory.

# A workspace on this machine would hide what a user of one module gets.
export GOWORK=off

failed=() # what went wrong so far, a line each

step() { printf '\n== %s\n' "$*"; }
die() { printf '== FAILED: %s\n' "$*" >&2; exit 1; }

# try DIR NAME COMMAND...: runs the command in a directory, and notes it where it fails.
try() {
	local dir=$1 name=$2
	shift 2
	step "$dir: $name"
	(cd "$dir" && "$@") || failed+=("$dir: $name")
}

# Files that git knows or would add; one that was deleted but not yet committed is neither.
repository_files() {
	git ls-files -z --cached --others --exclude-standard -- "$@" |
		while IFS= read -r -d '' file; do
			if [ -f "$file" ]; then printf '%s\0' "$file"; fi
		done | sort -zu
}

# The directories of the modules, the root first.
modules() {
	repository_files go.mod '*/go.mod' | xargs -0 -r -n 1 dirname | sort
}

check_format() {
	local unformatted
	unformatted=$(repository_files '*.go' | xargs -0 -r gofmt -l)
	[ -z "$unformatted" ] && return
	printf 'gofmt -w is needed on:\n%s\n' "$unformatted"
	return 1
}

minutes() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# The end of a run: says what failed, after how long, and exits accordingly.
finish() {
	local name=$1 fault
	if [ "${#failed[@]}" -eq 0 ]; then
		step "$name: all passed, in $(minutes "$SECONDS") minutes"
		exit 0
	fi
	step "$name: ${#failed[@]} failed, in $(minutes "$SECONDS") minutes" >&2
	for fault in "${failed[@]}"; do printf '     %s\n' "$fault" >&2; done
	exit 1
}
