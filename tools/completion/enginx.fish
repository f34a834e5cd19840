# fish completion for enginx, which itself says what is possible.
function __enginx_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] complete -- $words[2..] 2>/dev/null)
        switch $line
            case ':files'
                __fish_complete_path (commandline -ct)
            case ':programs'
                __fish_complete_command
            case '*'
                echo $line
        end
    end
end
complete -c enginx -f -a '(__enginx_complete)'
