# bash completion for enginx, which itself says what is possible.
_enginx() {
    local cur prev words cword line word
    _init_completion -n =.: || return
    COMPREPLY=()
    while IFS= read -r line; do
        word=${line%%$'\t'*}
        case $word in
        :files) _filedir ;;
        :programs) COMPREPLY+=($(compgen -c -- "$cur")) ;;
        *) COMPREPLY+=("$word") ;;
        esac
    done < <("${words[0]}" complete -- "${words[@]:1:cword-1}" "$cur" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    __ltrim_colon_completions "$cur"
} && complete -F _enginx enginx
