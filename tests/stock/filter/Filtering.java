import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.apache.rocketmq.broker.filter.MessageEvaluationContext;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.filter.FilterFactory;
import org.apache.rocketmq.filter.expression.Expression;

/**
 * Apache's own SQL92 filter: a line of the standard input is an expression and then any number of properties texts, each in hexadecimal
 * UTF-8, spaces between. A line of the output has a letter for each of these: t, f, n (null), e (an error), o (no boolean); or a lone r, for an
 * expression that is refused.
 */
public final class Filtering {
    private Filtering() {
    }

    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.US_ASCII));
        PrintStream out = new PrintStream(System.out, false, "US-ASCII");
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            out.println(answer(line.split(" ", -1)));
        }
        out.flush();
    }

    private static String answer(String[] words) {
        Expression expression;
        try {
            expression = FilterFactory.INSTANCE.get("SQL92").compile(text(words[0]));
        } catch (Throwable refused) {
            return "r";
        }
        StringBuilder letters = new StringBuilder();
        for (int i = 1; i < words.length; i++) {
            Map<String, String> properties = new HashMap<>(MessageDecoder.string2messageProperties(text(words[i])));
            letters.append(letter(expression, properties));
        }
        return letters.toString();
    }

    private static char letter(Expression expression, Map<String, String> properties) {
        try {
            Object value = expression.evaluate(new MessageEvaluationContext(properties));
            if (value == null) {
                return 'n';
            }
            return value instanceof Boolean ? ((Boolean) value ? 't' : 'f') : 'o';
        } catch (Throwable failed) {
            return 'e';
        }
    }

    private static String text(String hexadecimal) {
        return new String(HexFormat.of().parseHex(hexadecimal), StandardCharsets.UTF_8);
    }
}
