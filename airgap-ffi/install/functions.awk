# Writes the functions of include/airgap.h for a manual page: each prototype,
# and the comment before it.

function roff(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    gsub(/`/, "", text)
    # A line that begins so would be a request.
    if (text ~ /^[.']/) text = "\\&" text
    return text
}

/^\/\*\*$/ { comment = ""; within = 1; next }
/^ \*\/$/ { within = 0; next }
within {
    line = substr($0, 4)
    comment = comment (line == "" ? ".PP" : roff(line)) "\n"
    next
}

# A prototype begins in the first column and ends in a semicolon.
/^[a-z].* \**airgap_[a-z_]+\(/ { prototype = ""; open = 1 }
open {
    prototype = prototype roff($0) "\n"
    if ($0 ~ /;$/) {
        open = 0
        name = prototype
        sub(/\(.*/, "", name)
        sub(/.*[ *]/, "", name)
        printf ".SS %s\n.nf\n%s.fi\n.PP\n%s", name, prototype, comment
    }
}
